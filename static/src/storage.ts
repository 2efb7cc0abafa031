/** Values that the browser keeps. A library that does this would make the first script larger. */
import { computed, shallowRef, type WritableComputedRef } from 'vue'

/** Returns a storage of the browser, for this device or this tab; null where the browser denies it. */
export function storageOf(kind: 'localStorage' | 'sessionStorage'): Storage | null {
  try {
    return window[kind]
  } catch {
    return null
  }
}

interface Options {
  kind?: Parameters<typeof storageOf>[0]
  /** Whether it follows other tabs. */
  follows?: boolean
}

/** Returns a text that a storage keeps; null is not kept. It works, for as long as the page, where the browser denies storage. */
export function storedText<T extends string | null>(
  key: string,
  initial: T,
  { kind = 'localStorage', follows = false }: Options = {},
): WritableComputedRef<T> {
  const storage = storageOf(kind)
  const text = shallowRef((storage?.getItem(key) as T | undefined) ?? initial)
  if (follows) {
    // Nothing is written: each write would be a change for the other tabs, without end.
    addEventListener('storage', ({ key: changed, newValue }) => {
      if (changed === key) text.value = (newValue as T | null) ?? initial
    })
  }
  return computed({
    get: () => text.value,
    set: (value) => {
      text.value = value
      try {
        if (value === null) storage?.removeItem(key)
        else storage?.setItem(key, value)
      } catch {
        // The storage is full.
      }
    },
  })
}
