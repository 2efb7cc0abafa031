// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, h, type App, type Component } from 'vue'
import { createMemoryHistory, createRouter, RouterView, type Router } from 'vue-router'

import { useExploreAddress, type ExploreAddressOnPage } from './useExploreAddress'

const Other = { render: () => h('p', 'another view') }

let app: App
let router: Router
let explored: ExploreAddressOnPage
/** Ends the loading of the other view's script. */
let load: (view: Component) => void
let fail: (error: Error) => void

beforeEach(async () => {
  vi.useFakeTimers()
  const Explore = {
    setup() {
      explored = useExploreAddress()
      return () => h('p', 'a class')
    },
  }
  const script = new Promise<Component>((resolve, reject) => ([load, fail] = [resolve, reject]))
  router = createRouter({
    history: createMemoryHistory(),
    routes: [
      { path: '/explore/:classId', name: 'explore', component: Explore },
      { path: '/ride', component: () => script },
    ],
  })
  await router.push('/explore/1')
  // As on the page, another class is a view of its own.
  const view = () => h(RouterView, { key: router.currentRoute.value.path })
  app = createApp({ render: view }).use(router)
  app.mount(document.createElement('div'))
})
afterEach(() => {
  app.unmount()
  vi.useRealTimers()
})

const query = () => router.currentRoute.value.query

it('the address is written while the seconds play, but not at each of them', async () => {
  const replace = vi.spyOn(router, 'replace')
  for (let second = 61; second <= 100; second++) {
    explored.adjust({ second })
    await vi.advanceTimersByTimeAsync(250)
  }
  expect(replace.mock.calls.length).toBeGreaterThan(10)
  expect(replace.mock.calls.length).toBeLessThan(25)
  await vi.runAllTimersAsync()
  expect(explored.address.value.second).toBe(100)
  expect(query()).toEqual({ second: '100' })
})

it('a view whose script is loading is opened, although the seconds play', async () => {
  explored.adjust({ second: 100 })
  const opened = router.push('/ride')
  await vi.advanceTimersByTimeAsync(600)
  explored.adjust({ second: 101 })
  await vi.advanceTimersByTimeAsync(600)
  load(Other)
  await opened
  expect(router.currentRoute.value.path).toBe('/ride')
})

it.each(['/ride', '/explore/2'])(
  'a second that was not written yet is there after Back from %s',
  async (other) => {
    load(Other)
    explored.adjust({ second: 100 })
    await router.push(other)
    router.back()
    await vi.waitFor(() => expect(router.currentRoute.value.path).toBe('/explore/1'))
    expect(query()).toEqual({ second: '100' })
  },
)

it('a second that was not written yet does not appear in the address of the next view', async () => {
  load(Other)
  explored.adjust({ second: 100 })
  await router.push('/ride')
  await vi.advanceTimersByTimeAsync(600)
  expect(router.currentRoute.value.fullPath).toBe('/ride')
})

it('a second that was not written yet does not replace the view to which Back goes', async () => {
  load(Other)
  await router.push('/ride')
  await router.push('/explore/1')
  explored.adjust({ second: 100 })
  router.back()
  await vi.waitFor(() => expect(router.currentRoute.value.path).toBe('/ride'))
  expect(router.options.history.location).toBe('/ride')
})

it('a second that was not written yet is there after a step and Back', async () => {
  explored.adjust({ second: 100 })
  await explored.go({ racers: [5] })
  router.back()
  await vi.waitFor(() => expect(query().racers).toBeUndefined())
  expect(query()).toEqual({ second: '100' })
})

it('a new second leaves the racers as they are, whose curves would be drawn again', async () => {
  await explored.go({ racers: [5] })
  const { racers } = explored.address.value
  explored.adjust({ second: 100 })
  await vi.runAllTimersAsync()
  expect(query()).toEqual({ second: '100', racers: '5' })
  expect(explored.address.value.racers).toBe(racers)
})

it('the address is written again after a view could not be loaded', async () => {
  const opened = router.push('/ride')
  await vi.advanceTimersByTimeAsync(0)
  fail(new Error('the script is not there'))
  await expect(opened).rejects.toThrow('the script is not there')
  explored.adjust({ second: 100 })
  await vi.advanceTimersByTimeAsync(600)
  expect(query()).toEqual({ second: '100' })
})

it('the address is written again after another view was refused', async () => {
  router.beforeEach((to) => to.path !== '/ride')
  await router.push('/ride')
  explored.adjust({ second: 100 })
  await vi.advanceTimersByTimeAsync(600)
  expect(query()).toEqual({ second: '100' })
})

it('a second that no race has becomes the one that is shown', async () => {
  await router.push({ query: { second: '9999', racers: '5' } })
  expect(explored.address.value.second).toBe(300)
  await vi.runAllTimersAsync()
  expect(query()).toEqual({ second: '300', racers: '5' })
  await router.push({ query: { second: '0', racers: '5' } })
  await vi.runAllTimersAsync()
  expect(query()).toEqual({ second: '1', racers: '5' })
})

it('the address loses what is invalid and first values, and is not written again without them', async () => {
  await router.push({ query: { race: '7', racers: '5,x', board: 'best', second: '60' } })
  await vi.runAllTimersAsync()
  expect(query()).toEqual({ race: '7', racers: '5' })
  await router.push('/explore/2?race=7&racers=x')
  await vi.runAllTimersAsync()
  expect(query()).toEqual({ race: '7' })
  const replace = vi.spyOn(router, 'replace')
  await router.push({ query: { race: '7', second: '90' } })
  await vi.runAllTimersAsync()
  expect(replace).not.toHaveBeenCalled()
})
