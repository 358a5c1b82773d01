/* splitmix64 (Steele, Lea, Flood 2014): a counter and a mixing function, any seed as good as
 * another. Not for secrets. */
#ifndef PS_RANDOM_H
#define PS_RANDOM_H

#include <stdint.h>

static inline uint64_t ps_random_mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t ps_random_next(uint64_t *state)
{
    return ps_random_mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

/* Between 0 and 1, both excluded. */
static inline double ps_random_part(uint64_t random)
{
    return ((double)(random >> 12) + 0.5) * 0x1p-52;
}

static inline double ps_random_draw(uint64_t *state)
{
    return ps_random_part(ps_random_next(state));
}

#endif
