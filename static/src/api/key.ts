/**
 * The key for reading, if the service was started with one. It is kept while the tab is open, and is sent only in the
 * header of requests to this origin.
 */
import { storedText } from '../storage'

/** The key; null if none was needed so far. */
export const queryKey = storedText<string | null>('alleycat.key', null, { kind: 'sessionStorage' })
