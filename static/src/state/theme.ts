/** Colours: light, dark, or as the device is set. */
import { useStorage } from '@vueuse/core'
import { watchEffect } from 'vue'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

export const theme = useStorage<Theme>('alleycat.theme', 'auto')

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
})
