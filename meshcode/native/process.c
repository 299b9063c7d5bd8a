/* What a process ties itself to and gives up (worker/isolation.py): without it a worker would load
 * ctypes for two calls.  Returns 0 or errno.
 *
 * This file is included by the module that cffi generates, on Linux.
 */

#include <errno.h>
#include <sys/prctl.h>

static int32_t mesh_prctl(int32_t option, uint64_t value)
{
    return prctl(option, (unsigned long)value, 0UL, 0UL, 0UL) < 0 ? errno : 0;
}
