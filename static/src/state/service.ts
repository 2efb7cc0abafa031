/** The state of the service and a summary of its classes, polled while the page is visible. */
import { computed, reactive, readonly, ref } from 'vue'

import { ApiError } from '../api/request'
import { classes, isReady, type ClassSummary } from '../api/status'
import { serviceTime, setServiceTime } from './service-time'

/** Interval between polls, in milliseconds. */
const INTERVAL_MS = 3000

/**
 * Maximum age of a board that the page may get, in milliseconds. A cache before the service may send one that is 7 s old, the
 * instance that it comes from may be 4 s behind, and the page's clock may be 5 s wrong.
 */
const BOARD_AGE_MAX_MS = 16_000

/** Number of polls between loads of what changes without any sign: 12 s. */
const PERIOD_POLLS = 4

interface Service {
  /**
   * `connecting`: no response so far; `lagging`: it responds, but is not ready; `failing`: it responds with errors, because
   * it is starting or overloaded, or a proxy responds in its place; `locked`: it requires another key.
   */
  state: 'connecting' | 'ready' | 'lagging' | 'failing' | 'locked' | 'away'
  classes: ClassSummary[]
  /** The service's time at the last poll, in milliseconds since 1970. */
  now: number
}

const state = reactive<Service>({ state: 'connecting', classes: [], now: serviceTime() })

export const service = readonly(state)

export const reachable = computed(() => state.state === 'ready' || state.state === 'lagging')

/** Whether the operator lets the page send rides. The service writes this into the page. */
export const ridesOpen = document.documentElement.dataset.rides === 'open'

/** Number of polls that succeeded. */
const succeeded = ref(0)

/**
 * Changes at intervals while polls succeed. The state of a class says nothing of its races and finishes, and a cache may send
 * old ones. They are loaded again whenever this changes.
 */
export const period = computed(() => Math.floor(succeeded.value / PERIOD_POLLS))

async function poll(): Promise<void> {
  try {
    const found = await classes()
    if (found.time !== null) setServiceTime(found.time)
    const isUpToDate = await isReady()
    // Set together: a page with classes that still says "locked" would lay the key form over a view.
    state.classes = found.classes
    state.state = isUpToDate ? 'ready' : 'lagging'
    succeeded.value += 1
  } catch (error) {
    const kind = error instanceof ApiError ? error.kind : null
    state.state = kind === 'away' || kind === 'locked' ? kind : 'failing'
  }
  state.now = serviceTime()
}

let timer: ReturnType<typeof setTimeout> | undefined
let polls = Promise.resolve()

/** Polls now, and then at intervals. Resolves after the first poll. */
export function refreshService(): Promise<void> {
  clearTimeout(timer)
  polls = polls.then(poll).finally(() => {
    clearTimeout(timer)
    // A hidden page polls again when it is shown, a locked one when a key is entered.
    if (!document.hidden && state.state !== 'locked')
      timer = setTimeout(() => void refreshService(), INTERVAL_MS)
  })
  return polls
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(timer)
  else void refreshService()
})
addEventListener('online', () => void refreshService())

export function classOf(classId: number): ClassSummary | null {
  return service.classes.find((summary) => summary.classId === classId) ?? null
}

/** Returns whether no cache can still send a board from before the class's last change. */
function isSettled(classId: number): boolean {
  return service.now - (classOf(classId)?.updatedAt ?? 0) > BOARD_AGE_MAX_MS
}

/**
 * Returns the state of a class's boards; undefined before it is known. It changes with the class, and once more when the
 * class is settled: a board that was loaded before may be an old one.
 */
export function boardState(classId: number): string | undefined {
  const summary = classOf(classId)
  return summary ? `${summary.stateHash} ${isSettled(classId)}` : undefined
}

/** Returns the name of a class; its number while the name is not known. */
export function classTitle(classId: number): string {
  return classOf(classId)?.name ?? `Class ${classId}`
}

/** Whether the service is known to have no such class. */
export function isUnknownClass(classId: number): boolean {
  return service.classes.length > 0 && classOf(classId) === null
}

/** Returns the class, or the service's first one if the service is known to have no such class. */
export function knownClass(classId: number): number {
  return isUnknownClass(classId) ? (service.classes[0]?.classId ?? classId) : classId
}
