"""Every definition word for word, at 50 digits; never optimised. Each function takes plain numbers."""

import mpmath as mp

mp.mp.dps = 50


def exact(w):
    return [mp.mpf(float(x)) for x in w]


def descending(w):
    return sorted((abs(x) for x in exact(w)), reverse=True)


def power_sum(w, p):
    return mp.fsum(a ** mp.mpf(p) for a in descending(w) if a)


def lq_norm(w, q):
    return descending(w)[0] if q == mp.inf else power_sum(w, q) ** (1 / mp.mpf(q))


def log_lq_norm(w, q):
    return mp.log(lq_norm(w, q))


def tail_power_sum(w, s, p):
    return mp.fsum(a ** mp.mpf(p) for a in descending(w)[s:])


def tail_norm(w, s, p):
    return tail_power_sum(w, s, p) ** (1 / mp.mpf(p))


def effective_number(w, p, q):
    p, q = mp.mpf(p), mp.mpf(q)
    if p == 0:
        return mp.mpf(sum(1 for x in exact(w) if x))
    if p == q:
        shares = [a**p / power_sum(w, p) for a in descending(w) if a]
        return mp.exp(-mp.fsum(s * mp.log(s) for s in shares))
    if q == mp.inf:
        return (lq_norm(w, p) / lq_norm(w, q)) ** p
    return (lq_norm(w, p) / lq_norm(w, q)) ** (p * q / (q - p))


def sparsity_index(w, q):
    return lq_norm(w, 1) / lq_norm(w, q)


def normalized_sparsity_index(w, q):
    return mp.mpf(len(w)) ** (1 / mp.mpf(q) - 1) * sparsity_index(w, q)


def pq_index(w, p, q):
    p, q = mp.mpf(p), mp.mpf(q)
    return 1 - mp.mpf(len(w)) ** (1 / q - 1 / p) * lq_norm(w, p) / lq_norm(w, q)


def gini(w):
    c = descending(w)[::-1]
    total, n = mp.fsum(c), len(c)
    return 1 - 2 * mp.fsum(c[k - 1] / total * (n - k + mp.mpf("0.5")) / n for k in range(1, n + 1))


def hoyer(w):
    root = mp.sqrt(len(w))
    return (root - lq_norm(w, 1) / lq_norm(w, 2)) / (root - 1)


def kurtosis(w):
    x = exact(w)
    mean = mp.fsum(x) / len(x)
    return len(x) * mp.fsum((a - mean) ** 4 for a in x) / mp.fsum((a - mean) ** 2 for a in x) ** 2


def lorenz(w, s):
    a = descending(w)
    return mp.fsum(a[:s]) / mp.fsum(a)


def weights_needed(w, eps, p):
    limit = mp.mpf(eps) * lq_norm(w, p)
    return next(s for s in range(len(w) + 1) if tail_norm(w, s, p) <= limit)


def hill_tail_index(w, k):
    a = descending(w)
    return k / mp.fsum(mp.log(a[i] / a[k]) for i in range(k))
