/** Whether the service is there, and what its classes hold: asked every few seconds while the page is looked at. */
import { computed, reactive, readonly } from 'vue'

import { ApiError, classes, unreadiness, type ClassSummary } from '../api/client'

/** How often to ask, in milliseconds. */
const INTERVAL_MS = 3000

interface Service {
  /** `connecting`: nothing heard yet; `lagging`: it answers, but says that it is not ready; `locked`: it wants another key. */
  state: 'connecting' | 'ready' | 'lagging' | 'starting' | 'locked' | 'away'
  classes: ClassSummary[]
  /** The page's clock, in milliseconds since 1970, at the last look. */
  now: number
}

const state = reactive<Service>({ state: 'connecting', classes: [], now: Date.now() })

export const service = readonly(state)

export const reachable = computed(() => state.state === 'ready' || state.state === 'lagging')

/** Whether the operator lets the page send rides: the service says so in the page itself. */
export const ridesOpen = document.documentElement.dataset.rides === 'open'

async function look(): Promise<void> {
  try {
    state.classes = await classes()
    state.state = (await unreadiness()) === null ? 'ready' : 'lagging'
  } catch (error) {
    const kind = error instanceof ApiError ? error.kind : null
    state.state = kind === 'away' || kind === 'locked' ? kind : 'starting'
  }
  state.now = Date.now()
}

let looking: ReturnType<typeof setTimeout> | undefined
let under = Promise.resolve()

/** Looks now, and again and again. */
export function watchService(): Promise<void> {
  clearTimeout(looking)
  under = under.then(look).finally(() => {
    looking = setTimeout(() => void watchService(), INTERVAL_MS)
  })
  return under
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(looking)
  else void watchService()
})

export function classOf(classId: number): ClassSummary | null {
  return service.classes.find((summary) => summary.classId === classId) ?? null
}
