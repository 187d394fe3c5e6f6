/** Whether two types are the same, not only assignable. */
export type Equal<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false;

/** Compiles only where the claim holds: `claim<Equal<A, B>>()`. */
export function claim<_Claim extends true>(): void {}
