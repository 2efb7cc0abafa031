// @vitest-environment happy-dom
import { beforeAll, beforeEach, expect, it, vi } from 'vitest'

import { failedAddress, router } from './router'
import { lastClass } from './state/last-class'
import { refreshService } from './state/service'
import { settled, typeAddress } from './test-helpers'

vi.mock('./api/status', () => ({
  classes: async () => ({
    classes: [4, 5].map((classId) => ({ classId, name: `Class ${classId}` })),
    time: null,
  }),
  isReady: async () => true,
}))

/** The last class at an unknown class, while the classes are not known, and at a known one once they are. */
const lastClasses: number[] = []
beforeAll(async () => {
  await router.push('/explore/99')
  lastClasses.push(lastClass.value)
  await router.push('/explore/4')
  await refreshService()
  lastClasses.push(lastClass.value)
})
beforeEach(() => router.push('/'))

it.each([
  ['/', 'start', '/'],
  ['/ride/4', 'ride', '/ride/4'],
  ['/ride/4?ride=7', 'ride', '/ride/4?ride=7'],
  ['/explore/4?second=90&racers=1,2', 'explore', '/explore/4?second=90&racers=1,2'],
  ['/explore/4/90', 'explore', '/explore/4?second=90'],
  ['/explore/4/90?racers=1', 'explore', '/explore/4?racers=1&second=90'],
  ['/ride/x', 'not-found', '/ride/x'],
  ['/anything/else', 'not-found', '/anything/else'],
])('%s shows %s', async (address, name, path) => {
  await router.push(address)
  expect(router.currentRoute.value).toMatchObject({ name, fullPath: path })
})

it('a view without a class shows the last one', async () => {
  await router.push('/explore/5')
  expect(lastClass.value).toBe(5)
  await router.push('/ride')
  expect(router.currentRoute.value.fullPath).toBe('/ride/5')
  expect(document.title).toBe('Class 5 · Ride · Alleycat')
})

it('the title names the class, if the service has it', async () => {
  await router.push('/explore/4')
  expect(document.title).toBe('Class 4 · Explore · Alleycat')
  await router.push('/explore/99')
  expect(document.title).toBe('Not found · Alleycat')
  await router.push('/')
  expect(document.title).toBe('Start line · Alleycat')
})

it('a class that the service does not have is never the last one', async () => {
  expect(lastClasses).toEqual([1, 4])
  await router.push('/explore/5')
  await router.push('/ride/99')
  expect(lastClass.value).toBe(5)
  lastClass.value = 99 // as an earlier page may have stored it
  await router.push('/ride')
  expect(router.currentRoute.value.fullPath).toBe('/ride/4')
})

it('a view opens at its top, and another query does not scroll it', async () => {
  const scroll = vi.spyOn(window, 'scrollTo').mockImplementation(() => {})
  /** Returns the number of scrolls so far, after all that is on its way. */
  const scrolls = async () => {
    await settled()
    return scroll.mock.calls.length
  }
  await router.push('/explore/4')
  expect(await scrolls()).toBe(1)
  await router.push('/explore/4?second=90')
  expect(await scrolls()).toBe(1)
  await router.push('/ride/4')
  expect(await scrolls()).toBe(2)
  scroll.mockRestore()
})

it('Back keeps the page at its position until the next navigation', () => {
  const observers: ResizeObserver[] = []
  vi.stubGlobal(
    'ResizeObserver',
    class {
      observe = vi.fn()
      disconnect = vi.fn()
      constructor() {
        observers.push(this as unknown as ResizeObserver)
      }
    },
  )
  const { currentRoute, options } = router
  const to = currentRoute.value
  const kept = (saved: { left: number; top: number } | null) => {
    void options.scrollBehavior?.(to, to, saved)
    return observers.map(({ disconnect }) => vi.mocked(disconnect).mock.calls.length === 0)
  }
  expect(kept({ left: 0, top: 500 })).toEqual([true])
  expect(kept({ left: 0, top: 200 })).toEqual([false, true])
  expect(kept(null)).toEqual([false, false])
  vi.unstubAllGlobals()
})

it('a refused navigation changes neither the title nor the last class', async () => {
  await router.push('/ride/5')
  const allow = router.beforeEach(() => false)
  await router.push('/explore/4')
  allow()
  expect(document.title).toBe('Class 5 · Ride · Alleycat')
  expect(lastClass.value).toBe(5)
})

it('a part that could not be loaded is named until another view is shown', async () => {
  await router.push('/ride/4')
  failedAddress.value = '#/ride/4'
  await router.replace('/ride/4?ride=7')
  expect(failedAddress.value).toBe('#/ride/4')
  const allow = router.beforeEach(() => false)
  await router.push('/explore/4')
  allow()
  expect(failedAddress.value).toBe('#/ride/4')
  await router.push('/explore/4')
  expect(failedAddress.value).toBeNull()
})

it('an error of a navigation is on the console, and its address is kept', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {})
  const fault = new Error('a fault of a view')
  const mend = router.beforeEach(() => Promise.reject(fault))
  await expect(router.push('/explore/4')).rejects.toBe(fault)
  mend()
  expect(log).toHaveBeenCalledWith(fault)
  expect(failedAddress.value).toBe('#/explore/4')
  log.mockRestore()
})

it('a typed address is one navigation, and a step', async () => {
  await router.push('/explore/4')
  const position = Number(history.state.position)
  // A ride asks there, and would ask twice.
  const leave = vi.fn(() => true)
  const [explore] = router.currentRoute.value.matched
  explore?.leaveGuards.add(leave)
  typeAddress('/ride/5')
  await settled()
  expect(router.currentRoute.value.fullPath).toBe('/ride/5')
  explore?.leaveGuards.delete(leave)
  expect(leave).toHaveBeenCalledOnce()
  expect(history.state.position).toBe(position + 1)
})

it('the address that is shown, typed once more, is no step', async () => {
  await router.push('/explore/4?second=90')
  const { state } = history
  history.replaceState(null, '')
  dispatchEvent(new PopStateEvent('popstate'))
  await settled()
  expect(history.state).toEqual(state)
})

it.each(['/ride/5', '/explore/5/90'])(
  'one step is taken back where %s is typed and refused',
  async (address) => {
    await router.push('/explore/4')
    const go = vi.spyOn(history, 'go').mockImplementation(() => {})
    const allow = router.beforeEach(() => false)
    typeAddress(address)
    await settled()
    allow()
    expect(go.mock.calls).toEqual([[-1]])
    go.mockRestore()
  },
)
