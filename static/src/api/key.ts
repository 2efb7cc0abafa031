/**
 * The key for reading, if the service was started with one. It is kept while the tab is open, and is sent only in the
 * header of requests to this origin.
 */
import { useStorage } from '@vueuse/core'
import { ref } from 'vue'

import { storageOf } from '../storage'

const storage = storageOf('sessionStorage')

/** The key; null if none was needed so far. */
export const queryKey = storage
  ? useStorage<string | null>('alleycat.key', null, storage)
  : ref<string | null>(null)
