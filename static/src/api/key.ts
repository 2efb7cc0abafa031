/**
 * The key for reading, where the service was started with one. It is kept for as long as the tab is open, and goes nowhere
 * but into the header of what is asked of this origin.
 */
import { readonly, ref } from 'vue'

const KEY = 'alleycat.key'

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY)
  } catch {
    return null
  }
}

const key = ref<string | null>(stored())

/** The key; null where none was needed yet. */
export const queryKey = readonly(key)

/** Keeps another key, or forgets it. */
export function keepKey(other: string | null): void {
  key.value = other
  try {
    if (other === null) sessionStorage.removeItem(KEY)
    else sessionStorage.setItem(KEY, other)
  } catch {
    // Then it lasts as long as the page.
  }
}
