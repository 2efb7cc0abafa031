/** The address of the explored class, in both directions. */
import { onScopeDispose, ref, watch } from 'vue'
import {
  onBeforeRouteLeave,
  onBeforeRouteUpdate,
  useRoute,
  useRouter,
  type LocationQuery,
  type RouteLocationNormalized,
} from 'vue-router'

import { parseAddress, toQuery, withChange, type ExploreAddress } from '../race/explore-address'

/** Least time between writes of a scrubbed second, in milliseconds: Safari allows 100 changes of the address in 30 s. */
const WRITE_INTERVAL_MS = 500

export function useExploreAddress() {
  const route = useRoute()
  const router = useRouter()
  const address = ref<ExploreAddress>(parseAddress(route.query))
  let timer: ReturnType<typeof setTimeout> | undefined
  /** Whether a navigation to another view is under way. Its script may still be loading. */
  let isLeaving = false

  /** Writes what was changed in place. */
  async function write(): Promise<void> {
    if (timer === undefined) return
    clearTimeout(timer)
    timer = undefined
    // It would cancel the other navigation.
    if (isLeaving) return
    await router.replace({ query: toQuery(address.value) })
  }

  /** Changes a part of the address as a step that Back undoes. */
  async function go(change: Partial<ExploreAddress>): Promise<void> {
    await write()
    address.value = withChange(address.value, change)
    await router.push({ query: toQuery(address.value) })
  }

  /** Changes a part of the address in place. It is written at intervals, also while the seconds play. */
  function adjust(change: Partial<ExploreAddress>): void {
    address.value = withChange(address.value, change)
    timer ??= setTimeout(() => void write(), WRITE_INTERVAL_MS)
  }

  function leave(from: RouteLocationNormalized): void {
    const { history } = router.options
    // After Back and Forward, the entry of the history is another view's.
    if (timer !== undefined && history.location === from.fullPath) {
      history.replace(router.resolve({ query: toQuery(address.value) }).fullPath)
    }
    isLeaving = true
  }
  onBeforeRouteLeave((_, from) => leave(from))
  // Another class is a view of its own.
  onBeforeRouteUpdate((to, from) => {
    if (to.params.classId !== from.params.classId) leave(from)
  })
  const stayed = () => {
    isLeaving = false
  }
  onScopeDispose(router.afterEach(stayed))
  onScopeDispose(router.onError(stayed))

  /** Writes the address in its shortest form, where it is not in that form: without what is invalid, and without first values. */
  function correct(): void {
    if (!isSame(route.query, toQuery(address.value))) adjust({})
  }

  correct()
  watch(
    () => route.query,
    (query) => {
      const read = parseAddress(query)
      // After an own write nothing differs. A new array of the same racers would draw their curves again.
      if (!isSame(toQuery(read), toQuery(address.value))) address.value = read
      correct()
    },
  )
  onScopeDispose(() => clearTimeout(timer))
  return { address, go, adjust }
}

/** Returns whether two queries have the same parts, in any order. */
function isSame(a: LocationQuery, b: LocationQuery): boolean {
  const parts = (query: LocationQuery) => JSON.stringify(Object.entries(query).sort())
  return parts(a) === parts(b)
}

export type ExploreAddressOnPage = ReturnType<typeof useExploreAddress>
