/** Values that the browser keeps. The first script has them without a library. */
import { ref, watch, type Ref } from 'vue'

/** Returns a storage of the browser, for this device or this tab; null where the browser denies it. */
export function storageOf(kind: 'localStorage' | 'sessionStorage'): Storage | null {
  try {
    return window[kind]
  } catch {
    return null
  }
}

/** Returns a text that a storage keeps; null is not kept. It works, for as long as the page, where the browser denies storage. */
export function storedText<T extends string | null>(
  key: string,
  initial: T,
  kind: Parameters<typeof storageOf>[0] = 'localStorage',
): Ref<T> {
  const storage = storageOf(kind)
  const text = ref((storage?.getItem(key) as T | undefined) ?? initial) as Ref<T>
  const write = (value: T) => {
    try {
      if (value === null) storage?.removeItem(key)
      else storage?.setItem(key, value)
    } catch {
      // The storage is full.
    }
  }
  watch(text, write, { flush: 'sync' })
  return text
}
