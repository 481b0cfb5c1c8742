"""Pairs of rows and columns with the greatest sum: the Hungarian method, in NumPy alone."""

import numpy as np

from mgts_trt._typing import Array


def assign(gains: Array) -> list[tuple[int, int]]:
    """The pairs of rows and columns, each taken at most once, whose gains have the greatest sum.

    Shortest augmenting paths (Jonker and Volgenant, 1987) on the matrix with the fewer rows. SciPy's
    `linear_sum_assignment` gives the same sum.

    Args:
        gains: [N, M], at least 0; 0 is no pair.

    Returns:
        `(row, column)` of each pair with a gain above 0, by row.
    """
    if gains.shape[0] > gains.shape[1]:
        return sorted((row, column) for column, row in assign(gains.T))
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
    pairs = ((int(row), column) for column, row in enumerate(row_at[:-1]) if row >= 0)
    return sorted((row, column) for row, column in pairs if gains[row, column] > 0)
