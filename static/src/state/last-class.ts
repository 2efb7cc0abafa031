/** The class that was last picked, ridden or explored on this device. A page that is open does not follow other tabs. */
import { useStorage } from '@vueuse/core'

export const lastClass = useStorage('alleycat.class', 1, undefined, {
  listenToStorageChanges: false,
})
