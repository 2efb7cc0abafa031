import { globalIgnores } from 'eslint/config'
import { defineConfigWithVueTs, vueTsConfigs } from '@vue/eslint-config-typescript'
import pluginVue from 'eslint-plugin-vue'
import pluginVitest from '@vitest/eslint-plugin'
import skipFormatting from 'eslint-config-prettier/flat'

export default defineConfigWithVueTs(
  { name: 'app/files-to-lint', files: ['**/*.{vue,ts}'] },
  // schema.ts is generated.
  globalIgnores(['dist/**', 'src/api/schema.ts']),
  ...pluginVue.configs['flat/recommended'],
  vueTsConfigs.recommended,
  {
    ...pluginVitest.configs.recommended,
    files: ['src/**/*.test.ts', 'e2e/*.e2e.ts'],
    rules: {
      ...pluginVitest.configs.recommended.rules,
      // The second argument is the message of the failure.
      'vitest/valid-expect': ['error', { maxArgs: 2 }],
    },
  },
  {
    rules: {
      // Names of our components say what they are: Board, Wheel, Icon.
      'vue/multi-word-component-names': 'off',
      // A property that may be left out is undefined, as TypeScript says.
      'vue/require-default-prop': 'off',
    },
  },
  skipFormatting,
)
