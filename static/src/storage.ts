/** Returns a storage of the browser, for this device or this tab; null where the browser denies it. */
export function storageOf(kind: 'localStorage' | 'sessionStorage'): Storage | null {
  try {
    return window[kind]
  } catch {
    return null
  }
}
