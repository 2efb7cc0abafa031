// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, ref, type App, type Ref } from 'vue'

import { setHidden } from '../../test-helpers'
import { FIRST_ADDRESS, type ExploreAddress } from '../../race/explore-address'
import { reachable } from '../../state/service.fake'
import { PLAY_MS } from './play'
import SecondPanel from './SecondPanel.vue'

vi.mock('../../state/service', () => import('../../state/service.fake'))

let app: App
let page: HTMLElement
let shown: Ref<ExploreAddress>
const go = vi.fn()
const adjust = vi.fn()

function show(address: Partial<ExploreAddress>): void {
  shown = ref({ ...FIRST_ADDRESS, ...address })
  const exploreAddress = { address: shown, go, adjust }
  app = createApp(SecondPanel, { exploreAddress })
  page = document.body.appendChild(document.createElement('div'))
  app.mount(page)
}

beforeEach(() => {
  vi.clearAllMocks()
})
afterEach(() => {
  app.unmount()
  page.remove()
  setHidden(false)
  reachable.value = true
  vi.useRealTimers()
})

it('another board is a step that Back undoes', () => {
  show({})
  page.querySelector<HTMLInputElement>('[value=finish]')!.click()
  expect(go).toHaveBeenCalledExactlyOnceWith({ board: 'finish' })
})

it('Play from another board is such a step, Play from the board at a second is not', () => {
  show({ board: 'finish', second: 300 })
  page.querySelector('button')!.click()
  expect(go).toHaveBeenCalledExactlyOnceWith({ board: 'second', second: 1 })
  app.unmount()
  show({ second: 300 })
  page.querySelector('button')!.click()
  expect(go).toHaveBeenCalledOnce()
  expect(adjust).toHaveBeenCalledExactlyOnceWith({ second: 1 })
})

it('the slider passes the focus on when Back disables it', async () => {
  show({})
  const slider = page.querySelector<HTMLInputElement>('[type=range]')!
  slider.focus()
  shown.value = { ...FIRST_ADDRESS, board: 'finish' }
  await nextTick()
  expect(slider.disabled).toBe(true)
  expect(document.activeElement?.textContent).toContain('Play')
})

it('Play ends at the second at which the board leaves its racer', async () => {
  vi.useFakeTimers()
  show({ around: 7 })
  page.querySelector('button')!.click()
  vi.advanceTimersByTime(PLAY_MS)
  expect(adjust).toHaveBeenCalledTimes(1)
  shown.value = { ...shown.value, around: null }
  await nextTick()
  vi.advanceTimersByTime(10 * PLAY_MS)
  expect(adjust).toHaveBeenCalledTimes(1)
  expect(page.querySelector('button')?.textContent).toContain('Play')
})

it('plays nothing while the service is away', () => {
  vi.useFakeTimers()
  reachable.value = false
  show({})
  page.querySelector('button')!.click()
  vi.advanceTimersByTime(10 * PLAY_MS)
  expect(adjust).not.toHaveBeenCalled()
  reachable.value = true
  vi.advanceTimersByTime(PLAY_MS)
  expect(adjust).toHaveBeenCalledExactlyOnceWith({ second: 61 })
})

it('a page that is hidden plays nothing', () => {
  vi.useFakeTimers()
  show({})
  page.querySelector('button')!.click()
  setHidden(true)
  vi.advanceTimersByTime(10 * PLAY_MS)
  expect(adjust).not.toHaveBeenCalled()
  setHidden(false)
  vi.advanceTimersByTime(PLAY_MS)
  expect(adjust).toHaveBeenCalledExactlyOnceWith({ second: 61 })
})
