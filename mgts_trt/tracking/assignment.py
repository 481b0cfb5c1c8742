"""Pairs of rows and columns with the greatest sum: the Hungarian method, in NumPy alone."""

import numpy as np

from mgts_trt._typing import Array


def assign(gains: Array) -> list[tuple[int, int]]:
    """The pairs of rows and columns, each taken at most once, whose gains have the greatest sum.

    Shortest augmenting paths (Jonker and Volgenant, 1987), as SciPy's `linear_sum_assignment`, which has the same sum.

    Args:
        gains: [N, M], at least 0; 0 is no pair.

    Returns:
        `(row, column)` of each pair with a gain above 0, by row.
    """
    pairs = gains > 0
    if pairs.sum(0).max(initial=0) <= 1 and pairs.sum(1).max(initial=0) <= 1:  # most frames: nobody is contested
        return [(int(row), int(column)) for row, column in np.argwhere(pairs)]
    # What has no pair takes part in none.
    rows, columns = np.flatnonzero(pairs.any(1)), np.flatnonzero(pairs.any(0))
    some = gains[np.ix_(rows, columns)]
    found = [(row, column) for column, row in _assign(some.T)] if len(rows) > len(columns) else _assign(some)
    return sorted((int(rows[row]), int(columns[column])) for row, column in found if some[row, column] > 0)


def _assign(gains: Array) -> list[tuple[int, int]]:
    """A column for each row; there are at least as many columns."""
    costs = -np.asarray(gains, np.float64)
    count, width = costs.shape
    of_row, of_column = np.zeros(count), np.zeros(width + 1)  # the dual's prices
    # The last column is no column: there the path to a row without one begins.
    row_at = np.full(width + 1, -1)
    for row in range(count):
        column, row_at[width] = width, row
        least, before = np.full(width + 1, np.inf), np.full(width + 1, width)
        reached = np.zeros(width + 1, np.bool_)
        while row_at[column] >= 0:
            reached[column] = True
            here = row_at[column]
            costs_here = np.append(costs[here] - of_row[here] - of_column[:-1], np.inf)
            shorter = ~reached & (costs_here < least)
            least[shorter], before[shorter] = costs_here[shorter], column
            column = int(np.argmin(np.where(reached, np.inf, least)))
            step = least[column]
            of_row[row_at[reached]] += step
            of_column[reached] -= step
            least[~reached] -= step
        while column != width:
            row_at[column] = row_at[before[column]]
            column = int(before[column])
    return [(int(row), column) for column, row in enumerate(row_at[:-1]) if row >= 0]
