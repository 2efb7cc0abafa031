/** Colours: light, dark, or as the device is set. */
import { computed, watchEffect } from 'vue'

import { storedText } from '../storage'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const KEY = 'alleycat.theme'

function parseTheme(text: string | null): Theme {
  return THEMES.find((name) => name === text) ?? 'auto'
}

const text = storedText<string>(KEY, 'auto')

export const theme = computed({
  get: () => parseTheme(text.value),
  set: (chosen) => {
    text.value = chosen
  },
})

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
})
// Another tab's choice holds here, too.
addEventListener('storage', ({ key, newValue }) => {
  if (key === KEY) theme.value = parseTheme(newValue)
})
