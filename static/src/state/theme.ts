/** Colours: light, dark, or as the device is set. */
import { computed, watchEffect } from 'vue'

import { storedText } from '../storage'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

function parseTheme(text: string): Theme {
  return THEMES.find((name) => name === text) ?? 'auto'
}

const text = storedText<string>('alleycat.theme', 'auto', { follows: true })

export const theme = computed({
  get: () => parseTheme(text.value),
  set: (chosen) => {
    text.value = chosen
  },
})

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
})
