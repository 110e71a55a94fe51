/** Whether the database refused a row because another one has the same, by the constraint's name (23505, unique_violation). */
export function isUniqueViolation(error: unknown, constraint: string): boolean {
  const { cause } = error as { cause?: { code?: unknown; constraint?: unknown } };
  return cause?.code === "23505" && cause.constraint === constraint;
}
