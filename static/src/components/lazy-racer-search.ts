/** The search for a racer, loaded when it is shown: it is as large as the rest of a view. */
import { defineAsyncComponent } from 'vue'

import { failedAddress } from '../router'

export const LazyRacerSearch = defineAsyncComponent({
  loader: () => import('./RacerSearch.vue'),
  onError: (_error, _retry, fail) => {
    // The notice at the top loads the page again. Some browsers keep a script that failed until then.
    failedAddress.value = location.hash
    fail()
  },
})
