"""What chapters do not hold themselves: a study is used by at least two of them, or by a chapter and a command."""
