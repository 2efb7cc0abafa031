// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, effectScope, ref, type Component } from 'vue'

import { ApiError } from '../../api/request'
import { useBoard } from '../../composables/useBoard'
import { useRaces } from '../../composables/useRaces'
import { FIRST_ADDRESS, type ExploreAddress } from '../../race/explore-address'
import { router } from '../../router'
import BoardPanel from './BoardPanel.vue'
import RacesPanel from './RacesPanel.vue'

const load = vi.hoisted(() => vi.fn())
const raceBoard = vi.hoisted(() => vi.fn())
vi.mock('../../api/client', () => ({
  leaderboard: load,
  racePage: load,
  raceBoard,
  sendRide: vi.fn(),
}))
vi.mock('../../state/service', async (original) => ({
  ...(await original<typeof import('../../state/service')>()),
  boardState: () => 'A',
}))

const exploreAddress = {
  address: ref<ExploreAddress>({ ...FIRST_ADDRESS }),
  adjust: vi.fn(),
  go: vi.fn(),
}

/** Shows a panel with what `open` returns. */
function show(panel: Component, open: () => object) {
  const page = document.createElement('div')
  const scope = effectScope()
  const app = createApp(panel, { exploreAddress, ...scope.run(open) }).use(router)
  app.mount(page)
  const close = () => {
    app.unmount()
    scope.stop()
  }
  return { page, close }
}

it.each<[string, Component, () => object]>([
  ['the board', BoardPanel, () => ({ boardPage: useBoard(1, exploreAddress) })],
  ['the races', RacesPanel, () => ({ races: useRaces(1, exploreAddress) })],
])('%s: nothing is loading after a failure', async (name, panel, open) => {
  let fail: (error: ApiError) => void = () => {}
  load.mockReturnValue(new Promise((_, reject) => (fail = reject)))
  const { page, close } = show(panel, open)
  expect(page.textContent).toContain(`Loading ${name}…`)
  fail(new ApiError('refused', 'invalid limit'))
  await vi.waitFor(() => expect(page.textContent).toContain('invalid limit'))
  expect(page.textContent).not.toContain('Loading')
  close()
})

it('an opened race is loading until it comes', async () => {
  const race = { raceId: 1, startedAt: Date.now(), racers: 1, lastSecond: 2, finished: false }
  let respond: () => void = () => {}
  load.mockResolvedValue({ races: [], next: null, previous: null })
  raceBoard.mockReturnValue(
    new Promise((resolve) => (respond = () => resolve({ ...race, standings: [] }))),
  )
  exploreAddress.address.value = { ...FIRST_ADDRESS, race: 1 }
  const { page, close } = show(RacesPanel, () => ({ races: useRaces(1, exploreAddress) }))
  await vi.waitFor(() => expect(page.textContent).toContain('Loading the race…'))
  respond()
  await vi.waitFor(() => expect(page.textContent).not.toContain('Loading the race…'))
  close()
})

it('an opened race is shown also where the list of races cannot be loaded', async () => {
  load.mockRejectedValue(new ApiError('refused', 'no list'))
  const race = { raceId: 1, startedAt: Date.now(), racers: 1, lastSecond: 2, finished: false }
  raceBoard.mockResolvedValue({ ...race, standings: [{ racerId: 9, rank: 1 }] })
  exploreAddress.address.value = { ...FIRST_ADDRESS, race: 1 }
  const { page, close } = show(RacesPanel, () => ({ races: useRaces(1, exploreAddress) }))
  await vi.waitFor(() => expect(page.querySelector('caption')).not.toBeNull())
  expect(page.textContent).toContain('no list')
  expect(page.textContent).not.toContain('Loading')
  close()
})

it('a race whose end never came is not under way any more', async () => {
  const hourAgo = Date.now() - 3_600_000
  const race = { startedAt: hourAgo, racers: 1, lastSecond: 2 }
  const races = [
    { ...race, raceId: 1, finished: false },
    { ...race, raceId: 2, finished: true, lastSecond: 300 },
    { ...race, raceId: 3, finished: false, startedAt: Date.now() },
  ]
  load.mockResolvedValue({ races, next: null, previous: null })
  raceBoard.mockImplementation(async (_: number, id: number) => ({
    ...races[id - 1],
    standings: [{ racerId: 9, rank: 1 }],
  }))
  exploreAddress.address.value = FIRST_ADDRESS
  const { page, close } = show(RacesPanel, () => ({ races: useRaces(1, exploreAddress) }))
  const listed = () => [...page.querySelectorAll('li')].map((row) => row.textContent)
  await vi.waitFor(() =>
    expect(listed()).toEqual([
      expect.stringMatching(/1 racer, ended at 0:02 *In front at the end: *Racer 9/),
      expect.stringMatching(/1 racer, finished *Won by *Racer 9/),
      expect.stringMatching(/1 racer, at 0:02 *In front: *Racer 9/),
    ]),
  )
  close()
})
