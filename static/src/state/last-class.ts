/** The class that was last picked, ridden or explored on this device. */
import { useStorage } from '@vueuse/core'

export const lastClass = useStorage('alleycat.class', 1)
