import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { brotliCompressSync } from 'node:zlib'

import vue from '@vitejs/plugin-vue'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

/** Where the service listens while the page is developed with `npm run dev`. */
const SERVICE = process.env.ALLEYCAT_URL ?? 'http://127.0.0.1:8080'

const service = Object.fromEntries(
  ['/classes', '/racers', '/rides', '/readyz', '/docs', '/openapi.json'].map((path) => [
    path,
    SERVICE,
  ]),
)

/** Writes `NAME.br` beside every script and style. The service sends it to browsers that accept brotli. */
function brotli(): Plugin {
  return {
    name: 'brotli',
    apply: 'build',
    async writeBundle({ dir = 'dist' }, bundle) {
      for (const name of Object.keys(bundle).filter((name) => /\.(js|css)$/.test(name))) {
        const path = join(dir, name)
        await writeFile(`${path}.br`, brotliCompressSync(await readFile(path)))
      }
    },
  }
}

/** Lets the page send rides while it is developed, if the service does: the service writes this into its own page only. */
function ridesAsServed(): Plugin {
  return {
    name: 'rides-as-served',
    apply: 'serve',
    async transformIndexHtml(html) {
      // Without the service, the page says so.
      const served = await fetch(SERVICE, { headers: { accept: 'text/html' } }).then(
        (response) => response.text(),
        () => '',
      )
      const [rides] = served.match(/data-rides="\w+"/) ?? []
      return rides ? html.replace(/data-rides="\w+"/, rides) : html
    },
  }
}

export default defineConfig({
  plugins: [vue(), brotli(), ridesAsServed()],
  // Relative addresses: a proxy may serve the page below a path.
  base: './',
  // Nothing is inlined: the Content-Security-Policy allows files of this origin only.
  build: {
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox128', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  define: { __VUE_OPTIONS_API__: 'false' },
  server: { proxy: { ...service, '^/class-\\d+\\.gz$': SERVICE } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
