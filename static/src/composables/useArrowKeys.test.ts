// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it } from 'vitest'
import { effectScope, ref, type EffectScope, type Ref } from 'vue'

import { useArrowKeys } from './useArrowKeys'
import type { RaceOnPage } from './useRace'

let scope: EffectScope
let race: Record<'racing' | 'cadence' | 'resistance' | 'auto', Ref>

beforeEach(() => {
  race = { racing: ref(true), cadence: ref(80), resistance: ref(40), auto: ref(true) }
  scope = effectScope()
  scope.run(() => useArrowKeys(race as unknown as RaceOnPage))
})
afterEach(() => scope.stop())

it.each(['altKey', 'ctrlKey', 'metaKey'])('with %s, a key is the browser’s', (modifier) => {
  const key = { key: 'ArrowLeft', [modifier]: true, cancelable: true }
  expect(window.dispatchEvent(new KeyboardEvent('keydown', key))).toBe(true)
  expect(race.resistance.value).toBe(40)
})

it.each([
  ['button', 82],
  ['input type=checkbox', 82],
  ['input type=radio', 80],
  ['input type=range', 80],
])('the key ArrowUp on a %s gives a cadence of %i', (tag, cadence) => {
  document.body.innerHTML = `<${tag}>`
  document.body.firstElementChild!.dispatchEvent(
    new KeyboardEvent('keydown', { key: 'ArrowUp', bubbles: true }),
  )
  expect(race.cadence.value).toBe(cadence)
  // A key that changes the ride ends “Ride for me”.
  expect(race.auto.value).toBe(cadence === 80)
})

it.each([
  ['ArrowUp', 82, 40],
  ['ArrowDown', 78, 40],
  ['ArrowRight', 80, 42],
  ['ArrowLeft', 80, 38],
  ['a', 80, 40],
])('the key %s gives a cadence of %i and a resistance of %i', (key, cadence, resistance) => {
  window.dispatchEvent(new KeyboardEvent('keydown', { key }))
  expect([race.cadence.value, race.resistance.value]).toEqual([cadence, resistance])
})
