/** The state of the service, as a test sets it: `vi.mock('../state/service', () => import('../state/service.fake'))`. */
import { reactive, ref } from 'vue'

export const service = reactive({ now: 0, state: 'ready' })
export const reachable = ref(true)
/** The state of every class; undefined before it is known. */
export const stateHash = ref<string>()

/** Whether the class has not changed for a while. */
export const isClassSettled = ref(false)

export function classOf() {
  return { stateHash: stateHash.value }
}

export const isSettled = () => isClassSettled.value

export function boardState() {
  return stateHash.value === undefined ? undefined : `${stateHash.value} ${isClassSettled.value}`
}
