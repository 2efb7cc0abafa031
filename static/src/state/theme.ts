/** Light, dark, or as the device has it. */
import { ref, watchEffect } from 'vue'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const KEY = 'alleycat.theme'

function stored(): Theme {
  try {
    const theme = localStorage.getItem(KEY)
    return THEMES.find((known) => known === theme) ?? 'auto'
  } catch {
    return 'auto'
  }
}

export const theme = ref<Theme>(stored())

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
  try {
    localStorage.setItem(KEY, theme.value)
  } catch {
    // Then it lasts as long as the page.
  }
})
