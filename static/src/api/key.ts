/**
 * The key for reading, if the service was started with one. It is kept while the tab is open, and is sent only in the
 * header of requests to this origin.
 */
import { useStorage } from '@vueuse/core'
import { ref } from 'vue'

/** Returns the tab's storage; null where the browser denies it. */
function tabStorage(): Storage | null {
  try {
    return sessionStorage
  } catch {
    return null
  }
}

const storage = tabStorage()

/** The key; null if none was needed so far. */
export const queryKey = storage
  ? useStorage<string | null>('alleycat.key', null, storage)
  : ref<string | null>(null)
