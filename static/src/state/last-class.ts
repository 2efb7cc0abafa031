/** The class that was last ridden or explored on this device. */
import { useLocalStorage } from '@vueuse/core'

export const lastClass = useLocalStorage('alleycat.class', 1)
