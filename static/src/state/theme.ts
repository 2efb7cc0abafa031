/** Colours: light, dark, or as the device is set. */
import { watchEffect } from 'vue'

import { storedText } from '../storage'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const KEY = 'alleycat.theme'

export const theme = storedText<Theme>(KEY, 'auto')

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
})
// Another tab's choice holds here, too.
addEventListener('storage', ({ key, newValue }) => {
  if (key === KEY) theme.value = THEMES.find((name) => name === newValue) ?? 'auto'
})
