/** The state of the service, as a test sets it: `vi.mock('../state/service', () => import('../state/service.fake'))`. */
import { reactive, ref } from 'vue'

export const service = reactive({ now: 0, state: 'ready' })
export const reachable = ref(true)
export const ridesOpen = true
/** The state of every class; undefined before it is known. */
export const stateHash = ref<string>()

export const period = ref(0)

export function boardState() {
  return stateHash.value
}
