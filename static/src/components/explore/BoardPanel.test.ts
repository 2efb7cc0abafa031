// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, nextTick, ref } from 'vue'

import { FIRST_ADDRESS, type ExploreAddress } from '../../race/explore-address'
import { router } from '../../router'
import BoardPanel from './BoardPanel.vue'

vi.mock('../../api/client', () => ({}))

it('turns no page while another board than that of the address is shown', async () => {
  const address = ref<ExploreAddress>({ ...FIRST_ADDRESS })
  const shown = ref(address.value)
  const go = vi.fn()
  const board = ref({ total: 40, standings: [], previous: null, next: 'cursor' })
  const app = createApp(BoardPanel, {
    exploreAddress: { address, go },
    boardPage: { board, shown, failure: ref(''), notFound: ref('') },
  })
  const page = document.createElement('div')
  app.use(router).mount(page)
  const lower = [...page.querySelectorAll('button')].find(
    ({ textContent }) => textContent.trim() === 'Lower',
  )!
  for (const change of [{ board: 'finish' }, { second: 200 }] as const) {
    address.value = { ...FIRST_ADDRESS, ...change }
    await nextTick()
    lower.click()
    expect(go).not.toHaveBeenCalled()
  }
  shown.value = address.value
  await nextTick()
  lower.click()
  expect(go).toHaveBeenCalledExactlyOnceWith({ page: 'cursor' })
  app.unmount()
})
