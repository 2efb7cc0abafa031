// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, ref } from 'vue'

import type { ComparisonOnPage } from '../../composables/useComparison'
import type { ExploreAddressOnPage } from '../../composables/useExploreAddress'
import { FIRST_ADDRESS } from '../../race/explore-address'
import { settled } from '../../test-helpers'
import ComparePanel from './ComparePanel.vue'

vi.mock('../Curves.vue', () => ({
  __esModule: true,
  default: { props: ['summary'], template: '<p class="plot">{{ summary }}</p>' },
}))

/** Shows a comparison, and returns the words of the plot and of the table's rows. */
async function show(points: { racerId: number; point: object | null | undefined }[]) {
  const exploreAddress = { address: ref({ ...FIRST_ADDRESS, second: 60 }) }
  const comparison = {
    racers: ref(points.map(({ racerId }) => racerId)),
    lines: ref([{}]),
    points: ref(points),
    failure: ref(''),
  }
  const page = document.createElement('div')
  const app = createApp(ComparePanel, {
    exploreAddress: exploreAddress as unknown as ExploreAddressOnPage,
    comparison: comparison as unknown as ComparisonOnPage,
  })
  app.mount(page)
  await settled()
  const cells = (row: Element) => [...row.children].map((cell) => cell.textContent.trim())
  const plot = page.querySelector('.plot')?.textContent
  const rows = [...page.querySelectorAll('tbody tr')].map(cells)
  app.unmount()
  return { plot, rows }
}

it('tells a racer without a best at the second from one whose curve is not loaded', async () => {
  const point = { rank: 1200, output: 180.5, percentile: 75 }
  const { plot, rows } = await show([
    { racerId: 1, point },
    { racerId: 2, point: null },
    { racerId: 3, point: undefined },
  ])
  expect(rows).toEqual([
    ['Racer 1', '1,200', '180.50', '75.0\u00a0%'],
    ['Racer 2', '–', '–', '–'],
    ['Racer 3', '…', '…', '…'],
  ])
  expect(plot).toBe(
    'Curves of Racer 1, Racer 2, Racer 3 over the race. The table below has the numbers at 1:00.',
  )
})

it('without racers the plot has the class record alone, and there is no table', async () => {
  expect(await show([])).toEqual({
    plot: 'The curve of the class record over the race.',
    rows: [],
  })
})
