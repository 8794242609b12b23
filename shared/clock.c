/* Reads the kernel's clocks. */
#include "shared/clock.h"

#include <assert.h>
#include <time.h>

static usec_t
read_clock(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);
    assert(rc == 0); /* both clocks exist on every supported kernel */
    return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

usec_t
clock_boot(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

usec_t
clock_real(void)
{
    return read_clock(CLOCK_REALTIME);
}
