/** The class that was last picked, ridden or explored on this device. A page that is open does not follow other tabs. */
import { computed } from 'vue'

import { storedText } from '../storage'

const text = storedText<string>('alleycat.class', '1')

export const lastClass = computed({
  get: () => Number(text.value),
  set: (classId) => {
    text.value = String(classId)
  },
})
