/**
 * How long a subscription outlives its last component, in milliseconds. A component that is
 * unmounted and mounted again, by StrictMode or by a change of the page, continues the old one.
 */
export const lingerTime = 1000;
