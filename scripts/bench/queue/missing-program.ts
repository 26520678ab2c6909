/** A program that the bench needs is not on this machine; the message says how to get it. */
export class MissingProgram extends Error {}
