// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp } from 'vue'

import { leaderboard, type Leaderboard } from '../../api/client'
import { boardNow } from '../../state/board-source'
import { ApiError } from '../../api/request'
import type { OwnRide } from '../../race/own-ride'
import { router } from '../../router'
import { keepRide } from '../../state/own-rides'
import { settled } from '../../test-helpers'
import RideResult from './RideResult.vue'

vi.mock('../../api/client', () => ({ leaderboard: vi.fn(), sendRide: vi.fn() }))
vi.mock('../../state/board-source', () => ({ boardNow: vi.fn() }))
vi.mock('../Curves.vue', () => ({
  __esModule: true,
  default: {
    props: ['lines', 'summary'],
    template:
      '<p>{{ summary }}<template v-for="{ label, values } in lines"> {{ label }}: {{ values.size }}</template></p>',
  },
}))

vi.mock('../ShareLink.vue', () => ({
  default: { props: ['to'], template: '<p>{{ $router.resolve(to).href }}</p>' },
}))

const RIDE: OwnRide = {
  raceId: 1,
  classId: 1,
  racerId: 1,
  riderName: 'Ada',
  practice: false,
  sent: true,
  delivered: true,
  refused: null,
  cadences: [80],
  resistances: [78],
  outputs: [120],
  bests: [null],
  ranks: [3],
  totals: [9],
  classRecords: [200],
}

vi.mocked(leaderboard).mockReturnValue(new Promise(() => {}))

/** Returns what `read` reads of a ride's result, once the service has responded. */
async function readResult<T>(ride: Partial<OwnRide>, read: (page: Element) => T): Promise<T> {
  const page = document.createElement('div')
  const app = createApp(RideResult, { ride: { ...RIDE, ...ride } }).use(router)
  app.mount(page)
  await settled()
  const found = read(page)
  app.unmount()
  return found
}

const textOf = (ride: Partial<OwnRide>) => readResult(ride, (page) => page.textContent)

/** Returns the address of the board of best finishes. */
const finishesOf = (ride: Partial<OwnRide>) =>
  readResult(ride, (page) => page.querySelector('[href*="board=finish"]')?.getAttribute('href'))

it.each([
  [{}, ['From now on there are bests to beat.', 'to be beaten next time'], 'would'],
  [{ bests: [100] }, ['1 personal record.', 'Personal records'], 'would'],
  [{ bests: [999] }, ['of 1 second'], 'in a row'],
  [
    { outputs: [120, 120, 120, 120], bests: [999, 100, null, null] },
    [
      'First bests2with the records, 3 in a row',
      'of the bests at 2 seconds',
      '1 personal record and 2 first bests.',
    ],
    'would',
  ],
  [
    { outputs: [120, 120], bests: [100, null], pacer: { label: 'Median', outputs: [100, null] } },
    ['of the bests at 1 secondAt', 'ahead at 1 of 1 secondAverage'],
    'would',
  ],
  // A ride that was given up.
  [{ pacer: { label: 'Median', outputs: [100, 110] } }, ['Pacer: Median: 1'], 'Median: 2'],
  [{ rejected: 1 }, ['would be your first ride', 'Would be first bests'], 'beaten'],
  [
    { rejected: 1, bests: [100] },
    ['would be 1 personal record.', 'Would be personal records'],
    'Personal records',
  ],
])('the result of a ride with %j says %j, and not "%s"', async (ride, said, unsaid) => {
  vi.mocked(boardNow).mockReturnValue(new Promise(() => {}))
  const text = await textOf(ride)
  for (const part of said) expect(text).toContain(part)
  expect(text).not.toContain(unsaid)
})

it('the place at the finish is that of now, or else that of the ride, and the text says which', async () => {
  vi.mocked(boardNow).mockRejectedValue(new ApiError('away', 'The service does not respond.'))
  expect(await textOf({})).toMatch(/At the finish\s*3rd\s*of 9, as the board was in the ride/)
  const rows = [
    { racerId: 2, output: 130, rank: 4 },
    { racerId: 1, output: 120, rank: 5 },
  ]
  vi.mocked(boardNow).mockResolvedValue({ rank: 5, total: 11, record: false, rows })
  const text = await textOf({ next: { rank: 2, racerId: 3, gap: 7 } })
  expect(boardNow).toHaveBeenCalledWith(1, 1, { racerId: 1, output: 120 }, 100)
  expect(text).toMatch(/At the finish\s*5th\s*of 11, as of now/)
  expect(text).toContain('+10.00')
})

it('a better finish is the best one, or the last output of a ride that was given up', async () => {
  vi.mocked(boardNow).mockReturnValue(new Promise(() => {}))
  const standings = [{ rank: 1, racerId: 1, name: null, output: 194.25 }]
  vi.mocked(leaderboard).mockResolvedValue({ total: 1, standings } as unknown as Leaderboard)
  expect(await textOf({})).toContain('of 1, by your best finish of 194.25')
  const other = { ...RIDE, raceId: 2, outputs: [194.25], gaveUp: true }
  keepRide({ ...other, racerId: 2 })
  keepRide({ ...other, raceId: 3, sent: false, practice: true })
  keepRide({ ...other, raceId: 4, classId: 2 })
  expect(await textOf({})).toContain('by your best finish of 194.25')
  keepRide(other)
  expect(await textOf({})).toContain('by 194.25 of a ride that you gave up')
})

it('a shared ride is opened at second 60, or at its end if that is earlier', async () => {
  vi.mocked(boardNow).mockReturnValue(new Promise(() => {}))
  expect(await textOf({ outputs: [120, 120] })).toContain('?second=2&racers=1&race=1')
  const outputs = Array.from({ length: 61 }, () => 120)
  expect(await textOf({ outputs })).toContain('?racers=1&race=1')
})

it('a place on the board of best finishes that a practice ride does not take is called so', async () => {
  vi.mocked(boardNow).mockReturnValue(new Promise(() => {}))
  const shows = (output: number, newRecord = false) => {
    const standings = [{ rank: 1, racerId: 1, name: null, output, newRecord }]
    vi.mocked(leaderboard).mockResolvedValue({ total: 1, standings } as unknown as Leaderboard)
  }
  const practice = { sent: false, practice: true }
  shows(120, true)
  expect(await textOf(practice)).toContain('Would be in best finishes1st')
  expect(await finishesOf(practice)).toBe('#/explore/1?board=finish')
  expect(await textOf({})).toContain('Best finishes1st')
  expect(await finishesOf({})).toBe('#/explore/1?board=finish&around=1')
  shows(120)
  expect(await textOf(practice)).toContain('Best finishes1st')
  shows(130)
  expect(await textOf(practice)).toContain('Best finishes1st')
})

it('the best rank says of how many seconds the rank is known, if not of all', async () => {
  const ride = { outputs: [120, 120], bests: [100, 100], ranks: [3, 2], totals: [9, 9] }
  expect(await textOf(ride)).not.toContain('the rank is known')
  expect(await textOf({ ...ride, ranks: [3, null] })).toMatch(
    /3rd\s*of 9, at 0:01\s*– the rank is known at 1 of 2 seconds/,
  )
})

it('a ride that was given up says so, and where', async () => {
  const text = await textOf({ gaveUp: true })
  expect(text).toContain('given up at 0:01')
  expect(text).toContain('At the end')
})
