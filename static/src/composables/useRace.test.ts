// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, h, nextTick, type App } from 'vue'

import RideControls from '../components/ride/RideControls.vue'
import type { OwnRide } from '../race/own-ride'
import { loadSource, type BoardSource } from '../state/board-source'
import { outbox } from '../state/outbox'
import { rider } from '../state/rider'
import { reachable } from '../state/service.fake'
import { useRace, type RaceOnPage } from './useRace'

vi.mock('../api/client', () => ({ sendRide: vi.fn() }))
const service = vi.hoisted(() => ({ ridesOpen: true }))
vi.mock('../state/service', async () => {
  const { reachable } = await import('../state/service.fake')
  return {
    get ridesOpen() {
      return service.ridesOpen
    },
    classOf: () => ({ classId: 1 }),
    reachable,
  }
})
vi.mock('../state/board-source', () => ({ loadSource: vi.fn() }))

const SOURCE = {
  rest: async () => {},
  best: () => null,
  classRecord: () => null,
  board: () => ({ value: { rank: 1, total: 1, record: true, rows: [] }, asOfStart: false }),
} as unknown as BoardSource

let app: App
const onEnd = vi.fn<(ride: OwnRide) => void>()
let page: HTMLElement

/** Shows the controls of a race that has begun. */
async function start(): Promise<RaceOnPage> {
  let race: RaceOnPage | undefined
  app = createApp({
    setup() {
      const of = (race = useRace(1, onEnd))
      return () => h(RideControls, { race: of, canStart: true })
    },
  })
  page = document.body.appendChild(document.createElement('div'))
  app.mount(page)
  await race?.start()
  return race!
}

beforeEach(() => {
  vi.useFakeTimers()
  service.ridesOpen = true
  rider.value = { racerId: 70, name: 'Ann', guest: true }
  onEnd.mockReset()
  vi.mocked(loadSource).mockResolvedValue(SOURCE)
  vi.spyOn(outbox, 'add').mockImplementation(() => {})
})
afterEach(() => {
  app.unmount()
  page.remove()
  vi.restoreAllMocks()
  vi.useRealTimers()
})

it('a choice that is disabled by the start of a ride that counts passes the focus on', async () => {
  let respond: (source: BoardSource) => void = () => {}
  vi.mocked(loadSource).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const started = start()
  page.querySelector<HTMLInputElement>('[type=radio]')!.focus()
  respond(SOURCE)
  await started
  await nextTick()
  expect(document.activeElement?.textContent).toContain('Pause')
})

it('a ride that counts cannot become practice, and the choice is free again after it', async () => {
  const race = await start()
  const free = () =>
    [...page.querySelectorAll('[type=radio], [role=switch]')].filter(
      (choice) => !choice.matches(':disabled, :disabled *'),
    )
  await nextTick()
  expect(free()).toHaveLength(0)
  race.giveUp()
  await nextTick()
  expect(free()).toHaveLength(4)
})

it.each(['pause', 'giveUp'] as const)('no second is lost at %s in a hidden tab', async (end) => {
  const race = await start()
  // Time passes, but no timer is called.
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 3100)
  race[end]()
  const seconds = vi.mocked(outbox.add).mock.calls.map(([{ second }]) => second)
  expect([...new Set(seconds)]).toEqual([1, 2, 3])
})

it('the primary button has the focus when the race ends while “Give up” has it', async () => {
  const race = await start()
  await nextTick()
  document.body.append(page)
  const [primary, end] = page.querySelectorAll<HTMLButtonElement>('.actions button')
  end?.focus()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 300_000)
  await vi.advanceTimersByTimeAsync(40)
  expect(race.phase.value).toBe('done')
  expect(end?.isConnected).toBe(false)
  expect(document.activeElement).toBe(primary)
  page.remove()
})

it('a ride that counts stays so where its last rank comes after another speed is chosen', async () => {
  let respond: () => void = () => {}
  const board = () => new Promise((resolve) => (respond = () => resolve(SOURCE.board(0, 0, 9))))
  vi.mocked(loadSource).mockResolvedValue({ ...SOURCE, board } as BoardSource)
  const race = await start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 300_000)
  await vi.advanceTimersByTimeAsync(40)
  race.speed.value = 5
  respond()
  await vi.advanceTimersByTimeAsync(0)
  respond()
  await vi.advanceTimersByTimeAsync(0)
  expect(onEnd.mock.lastCall?.[0]).toMatchObject({ practice: false, sent: true })
  expect(onEnd.mock.lastCall?.[0].ranks.at(-1)).toBe(1)
})

it('no clock runs after the finish, and a ride that is over does not go on', async () => {
  const race = await start()
  const begin = performance.now()
  const now = vi.spyOn(performance, 'now').mockReturnValue(begin + 299_000)
  await vi.advanceTimersByTimeAsync(40)
  const timers = vi.getTimerCount()
  now.mockReturnValue(begin + 300_000)
  await vi.advanceTimersByTimeAsync(40)
  expect(vi.getTimerCount()).toBe(timers - 1)
  race.resume()
  expect(race.phase.value).toBe('done')
})

it('a ride is kept again with its last rank, which comes after the finish', async () => {
  let respond: () => void = () => {}
  const board = () => new Promise((resolve) => (respond = () => resolve(SOURCE.board(0, 0, 9))))
  vi.mocked(loadSource).mockResolvedValue({ ...SOURCE, board } as BoardSource)
  await start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 300_000)
  await vi.advanceTimersByTimeAsync(40)
  // The board of the first second comes, and that of the last one is requested.
  respond()
  await vi.advanceTimersByTimeAsync(0)
  expect(onEnd.mock.lastCall?.[0].ranks.at(-1)).toBeNull()
  respond()
  await vi.advanceTimersByTimeAsync(0)
  expect(onEnd.mock.lastCall?.[0].ranks.at(-1)).toBe(1)
  expect(onEnd.mock.lastCall?.[0].gaveUp).toBe(false)
})

it('a ride that is given up is kept with its seconds, unless it has none', async () => {
  const race = await start()
  race.giveUp()
  expect(onEnd).not.toHaveBeenCalled()
  await race.start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 2100)
  race.giveUp()
  expect(onEnd).toHaveBeenCalledOnce()
  const [ride] = onEnd.mock.lastCall!
  expect(ride).toMatchObject({ gaveUp: true, sent: true, practice: false })
  expect(ride.outputs).toHaveLength(2)
})

it.each(['loaded', 'failed'])(
  'a ride that is given up does not begin once it is %s',
  async (how) => {
    const race = await start()
    race.giveUp()
    let settle: [resolve: (source: BoardSource) => void, reject: () => void]
    vi.mocked(loadSource).mockReturnValueOnce(new Promise((...both) => (settle = both)))
    const started = race.start()
    race.giveUp()
    const [resolve, reject] = settle!
    if (how === 'loaded') resolve(SOURCE)
    else reject()
    await started
    expect(race.phase.value).toBe('ready')
    expect(race.failure.value).toBeNull()
  },
)

it('a start during loading does not load again', async () => {
  const race = await start()
  race.giveUp()
  vi.mocked(loadSource)
    .mockClear()
    .mockReturnValueOnce(new Promise(() => {}))
  void race.start()
  void race.start()
  expect(loadSource).toHaveBeenCalledOnce()
})

it('a ride does not begin after its page was left during loading', async () => {
  const race = await start()
  race.giveUp()
  let respond: (source: BoardSource) => void = () => {}
  vi.mocked(loadSource).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const started = race.start()
  app.unmount()
  respond(SOURCE)
  await started
  expect(race.phase.value).toBe('ready')
})

it('the board of a ride is not shown after it', async () => {
  const race = await start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 1100)
  await vi.advanceTimersByTimeAsync(40)
  expect(race.board.value?.rank).toBe(1)
  expect(race.source.value).not.toBeNull()
  race.giveUp()
  expect(race.board.value).toBeNull()
  // The next ride may be another rider's, who has other bests.
  expect(race.source.value).toBeNull()
})

it('a new name is the ride’s once it is typed, and another rider has the next ride', async () => {
  const race = await start()
  const begin = performance.now()
  const now = vi.spyOn(performance, 'now').mockReturnValue(begin + 1100)
  await vi.advanceTimersByTimeAsync(40)
  for (const name of ['Z', 'Ze', 'Zed']) {
    rider.value = { ...rider.value, name }
    await vi.advanceTimersByTimeAsync(500)
  }
  now.mockReturnValue(begin + 2100)
  await vi.advanceTimersByTimeAsync(40)
  race.pause()
  await vi.advanceTimersByTimeAsync(1000)
  rider.value = { racerId: 71, name: 'Bo', guest: true }
  await vi.advanceTimersByTimeAsync(1000)
  race.giveUp()
  expect(vi.mocked(outbox.add).mock.calls.map(([{ racerId, name }]) => [racerId, name])).toEqual([
    [70, 'Ann'],
    [70, 'Ann'],
    [70, 'Zed'],
  ])
  expect(onEnd.mock.lastCall?.[0]).toMatchObject({ racerId: 70, riderName: 'Zed' })
  await nextTick()
  expect(race.identity.value.name).toBe('Bo')
  rider.value = { ...rider.value, name: 'Kofi' }
  await nextTick()
  expect(race.identity.value.name).toBe('Kofi')
})

it('after a finish, the head unit keeps its rider, and the page says whose ride is next', async () => {
  const race = await start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 302_000)
  await vi.advanceTimersByTimeAsync(40)
  rider.value = { ...rider.value, name: 'Zed' }
  await vi.advanceTimersByTimeAsync(2000)
  expect(race.identity.value.name).toBe('Ann')
  expect(page.textContent).toContain('The next ride is Zed’s, and counts.')
  race.speed.value = 5
  await nextTick()
  expect(page.textContent).toContain('The next ride is Zed’s, and is practice.')
  outbox.isClosed.value = true
  await nextTick()
  expect(page.textContent).toContain('The next ride is Zed’s.')
  outbox.isClosed.value = false
})

it('says why a ride could not begin until the service is there again', async () => {
  vi.mocked(loadSource).mockRejectedValueOnce(new Error('away'))
  reachable.value = true
  const race = await start()
  reachable.value = false
  await nextTick()
  expect(race.failure.value).toBe('The history cannot be loaded.')
  reachable.value = true
  await nextTick()
  expect(race.failure.value).toBeNull()
})

it('a failure of the board is over with the ride, and in a pause', async () => {
  const board = () => Promise.reject(new Error('away'))
  vi.mocked(loadSource).mockResolvedValue({ ...SOURCE, board } as BoardSource)
  const race = await start()
  const begin = performance.now()
  vi.spyOn(performance, 'now').mockReturnValue(begin + 1100)
  await vi.advanceTimersByTimeAsync(40)
  expect(race.failure.value).toBe('The board cannot be loaded.')
  race.pause()
  expect(race.failure.value).toBeNull()
  race.resume()
  expect(race.failure.value).not.toBeNull()
  vi.spyOn(performance, 'now').mockReturnValue(begin + 302_000)
  await vi.advanceTimersByTimeAsync(40)
  expect(race.phase.value).toBe('done')
  expect(race.failure.value).toBeNull()
})

it.each([
  ['of the board of now', false, 1, [1, 1]],
  ['of the start’s board, in a ride that counts', true, 1, [null, null]],
  ['of the start’s board, in a practice ride', true, 5, [1, 1]],
] as const)('the rank %s', async (_, asOfStart, speed, ranks) => {
  const board = () => ({ value: { rank: 1, total: 1, record: true, rows: [] }, asOfStart })
  vi.mocked(loadSource).mockResolvedValue({ ...SOURCE, board } as BoardSource)
  const race = await start()
  race.giveUp()
  race.speed.value = speed
  await race.start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 2100 / speed)
  race.giveUp()
  expect(onEnd.mock.lastCall?.[0].ranks).toEqual(ranks)
})

it.each([
  [true, true],
  [false, false],
])('where rides are open: %s, a ride under way keeps its speed: %s', async (open, keeps) => {
  service.ridesOpen = open
  const race = await start()
  await nextTick()
  expect(race.isCounted.value).toBe(keeps)
  expect(page.querySelector('fieldset')?.disabled).toBe(keeps)
})

it('a ride of which a part was faster is practice, also where no ride is sent', async () => {
  service.ridesOpen = false
  const race = await start()
  await vi.advanceTimersByTimeAsync(1100)
  for (const speed of [5, 1] as const) {
    race.speed.value = speed
    await nextTick()
  }
  race.giveUp()
  expect(onEnd.mock.lastCall?.[0]).toMatchObject({ sent: false, practice: true })
})

it('a change of speed changes the clock of a ride', async () => {
  const race = await start()
  race.giveUp()
  race.speed.value = 5
  await race.start()
  await vi.advanceTimersByTimeAsync(1000)
  expect(race.second.value).toBe(5)
  race.speed.value = 20
  await nextTick()
  await vi.advanceTimersByTimeAsync(1000)
  expect(race.second.value).toBe(25)
})

it.each([
  ['with its next place', 300, { rank: 1, racerId: -1, gap: 10 }],
  ['without one if it was given up', 299, null],
])('a ride is kept %s', async (_, seconds, next) => {
  const { racerId } = rider.value
  const rows = [
    { rank: 1, racerId: -1, output: 210 },
    { rank: 2, racerId, output: 200 },
  ]
  const board = () => ({ value: { rank: 2, total: 2, record: true, rows }, asOfStart: false })
  vi.mocked(loadSource).mockResolvedValue({ ...SOURCE, board } as unknown as BoardSource)
  const race = await start()
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + seconds * 1000)
  await vi.advanceTimersByTimeAsync(40)
  race.giveUp()
  expect(onEnd.mock.lastCall?.[0].next).toEqual(next)
})

it('the clock stands after a ride was given up', async () => {
  const race = await start()
  await vi.advanceTimersByTimeAsync(2100)
  race.giveUp()
  expect(onEnd).toHaveBeenCalledOnce()
  await vi.advanceTimersByTimeAsync(400_000)
  expect(race.second.value).toBe(0)
  expect(onEnd).toHaveBeenCalledOnce()
})

it('the clock stands in a pause', async () => {
  const race = await start()
  await vi.advanceTimersByTimeAsync(2100)
  race.pause()
  await vi.advanceTimersByTimeAsync(10_000)
  race.resume()
  await vi.advanceTimersByTimeAsync(1000)
  expect(race.second.value).toBe(3)
})

it.each([
  [1, false, true],
  [5, false, false],
  [1, true, false],
] as const)('a ride at %i×, ridden by the page: %s, is sent: %s', async (speed, auto, isSent) => {
  const race = await start()
  race.giveUp()
  vi.mocked(outbox.add).mockClear()
  ;[race.speed.value, race.auto.value, race.cadence.value] = [speed, auto, 150]
  await race.start()
  const isRealTime = vi.mocked(loadSource).mock.lastCall?.[2]
  expect(isRealTime?.()).toBe(speed === 1)
  await vi.advanceTimersByTimeAsync(1100)
  expect(race.isUnsent.value).toBe(!isSent)
  expect(vi.mocked(outbox.add).mock.calls.length > 0).toBe(isSent)
  expect(race.cadence.value !== 150).toBe(auto)
  race.giveUp()
  expect(onEnd.mock.lastCall?.[0].sent).toBe(isSent)
})

it('a finished ride is kept and sent as such, and stays so when its page is left', async () => {
  const classRecord = (second: number) => ({ racerId: 9, output: second })
  vi.mocked(loadSource).mockResolvedValue({ ...SOURCE, classRecord } as BoardSource)
  const race = await start()
  race.cadence.value = 85
  const begin = performance.now()
  const now = vi.spyOn(performance, 'now').mockReturnValue(begin + 1100)
  await vi.advanceTimersByTimeAsync(40)
  expect([race.sample.value?.second, race.sample.value?.output]).toEqual([1, race.outputNow.value])
  expect(race.outputNow.value).toBe(126)
  outbox.deliveries.set(race.raceId.value!, { waiting: 1 } as never)
  expect(race.delivery.value?.waiting).toBe(1)
  now.mockReturnValue(begin + 300_000)
  await vi.advanceTimersByTimeAsync(40)
  expect(race.sample.value?.second).toBe(300)
  expect(race.delivery.value).toBeNull()
  const events = vi.mocked(outbox.add).mock.calls.map(([{ event }]) => event)
  expect(events).toEqual([...Array<string>(299).fill('update'), 'final'])
  const [ride] = onEnd.mock.lastCall!
  expect(ride).toMatchObject({
    raceId: race.raceId.value,
    classId: 1,
    racerId: 70,
    gaveUp: false,
    delivered: false,
    refused: null,
  })
  expect([ride.classRecords.at(0), ride.classRecords.at(-1)]).toEqual([1, 300])
  onEnd.mockClear()
  race.giveUp()
  expect(onEnd).not.toHaveBeenCalled()
  expect(outbox.add).toHaveBeenCalledTimes(300)
  outbox.deliveries.clear()
})

it('shows which share of the history has been loaded', async () => {
  vi.mocked(loadSource).mockImplementationOnce((_, __, ___, onProgress) => {
    onProgress(0.5)
    return new Promise(() => {})
  })
  void start()
  await nextTick()
  expect(page.textContent).toContain('Loading… 50 %')
})

it('only a ride under way can be paused', async () => {
  const race = await start()
  race.giveUp()
  race.pause()
  expect(race.phase.value).toBe('ready')
})
