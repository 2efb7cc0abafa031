/** Addresses of the views. They stand behind `#`, so that the service needs to know one path only. */
import { computed, ref, watch, watchEffect } from 'vue'
import {
  createRouter,
  createWebHashHistory,
  isNavigationFailure,
  NavigationFailureType,
  type RouteRecordRaw,
} from 'vue-router'

import { lastClass } from './state/last-class'
import { classOf, classTitle, isUnknownClass, knownClass } from './state/service'

const startView = () => import('./views/StartView.vue')
const rideView = () => import('./views/RideView.vue')
const exploreView = () => import('./views/ExploreView.vue')
const notFoundView = () => import('./views/NotFoundView.vue')

declare module 'vue-router' {
  interface RouteMeta {
    title: string
  }
}

const routes: RouteRecordRaw[] = [
  {
    path: '/',
    name: 'start',
    component: startView,
    meta: { title: 'Start line' },
  },
  {
    path: '/ride/:classId(\\d+)',
    name: 'ride',
    component: rideView,
    props: ({ params, query }) => ({ classId: Number(params.classId), rideId: Number(query.ride) }),
    meta: { title: 'Ride' },
  },
  {
    path: '/explore/:classId(\\d+)',
    name: 'explore',
    component: exploreView,
    props: ({ params }) => ({ classId: Number(params.classId) }),
    meta: { title: 'Explore' },
  },
  // The short form of an address at a second.
  {
    path: '/explore/:classId(\\d+)/:second(\\d+)',
    redirect: ({ params: { classId, second }, query }) => ({
      name: 'explore',
      params: { classId },
      query: { ...query, second },
    }),
  },
  // Without a class: the last one.
  {
    path: '/:view(ride|explore)',
    redirect: ({ params }) => ({
      name: params.view === 'ride' ? 'ride' : 'explore',
      params: { classId: knownClass(lastClass.value) },
    }),
  },
  {
    path: '/:path(.*)*',
    name: 'not-found',
    component: notFoundView,
    meta: { title: 'Not found' },
  },
]

/** Maximum time for which `keepAt` keeps the page at a position, in milliseconds. */
const KEPT_IN_PLACE_MS = 3000

/** Ends what the last `keepAt` does. */
let kept = new AbortController()

/** Keeps the page at a position while the data of its view come: before, it is not high enough. Ends when the rider acts. */
function keepAt(top: number): void {
  const current = (kept = new AbortController())
  const { signal } = current
  const observer = new ResizeObserver(() => scrollTo({ top }))
  observer.observe(document.body)
  signal.addEventListener('abort', () => observer.disconnect())
  for (const type of ['wheel', 'pointerdown', 'keydown']) {
    addEventListener(type, () => current.abort(), { signal })
  }
  setTimeout(() => current.abort(), KEPT_IN_PLACE_MS)
}

// An address that is typed has no state yet. The router would not count it as a step, and could not undo a Back to before it.
// Added before the router's own listener, which must not get this event.
addEventListener('popstate', (event) => {
  const { history } = router.options
  if (event.state) return
  event.stopImmediatePropagation()
  const current = location.hash.slice(1)
  const step = {
    back: history.location,
    current,
    forward: null,
    position: Number(history.state.position) + 1,
    replaced: false,
    scroll: null,
  }
  // The same address, typed again, adds no step.
  const state = current === history.location ? history.state : step
  window.history.replaceState(state, '')
  dispatchEvent(new PopStateEvent('popstate', { state }))
})

export const router = createRouter({
  history: createWebHashHistory(),
  routes,
  // A view opens at its top. Back and Forward return to where it was; another query changes a part of the same view.
  scrollBehavior(to, from, saved) {
    kept.abort()
    if (saved) keepAt(saved.top)
    return saved ?? (to.path !== from.path && { top: 0 })
  },
})

/** The address of a view whose script could not be loaded; null if none failed. */
export const failedAddress = ref<string | null>(null)
/** Whether the script of a part of the view could not be loaded. */
export const hasFailedPart = ref(false)

router.onError((error, to) => {
  // A fault of a view's own script would otherwise be seen nowhere.
  console.error(error)
  failedAddress.value = router.resolve(to.fullPath).href
})
router.afterEach((to, _, failure) => {
  // The router takes back a step to a typed address that is refused, but not to one that redirects.
  const { history } = router.options
  const isAborted = isNavigationFailure(failure, NavigationFailureType.aborted)
  if (isAborted && history.location === to.redirectedFrom?.fullPath) history.go(-1, false)
})
router.afterEach((to, from, failure) => {
  // Another query changes a part of the same view. Refused navigations change nothing.
  if (failure || to.path === from.path) return
  failedAddress.value = null
  hasFailedPart.value = false
})

/** The class of the address, if the service does not have it; otherwise null. */
export const unknownClass = computed(() => {
  const { classId } = router.currentRoute.value.params
  return classId && isUnknownClass(Number(classId)) ? Number(classId) : null
})

watchEffect(() => {
  const { meta, params } = router.currentRoute.value
  const classId = Number(params.classId)
  const title = unknownClass.value === null ? meta.title : 'Not found'
  const parts = [classOf(classId) && classTitle(classId), title, 'Alleycat']
  document.title = parts.filter(Boolean).join(' · ')
})

// Only a class that the service has: the first address may be there before the classes are known.
watch(
  () => {
    const classId = Number(router.currentRoute.value.params.classId)
    return classOf(classId) ? classId : null
  },
  (classId) => {
    if (classId !== null) lastClass.value = classId
  },
  { flush: 'sync' },
)

/** Functions that load the scripts of the views. */
export const viewLoaders = [startView, rideView, exploreView, notFoundView]
