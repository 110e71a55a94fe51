/** Passwords have at least and at most so many characters. */
export const passwordLength = { minimum: 10, maximum: 128 };
