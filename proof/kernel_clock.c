/* The clock of a host, ahead by SAFE_HARBOR_AHEAD seconds: what a program asks for, and what the kernel would give to
 * a file that is flushed. libfaketime cannot be used: it waits for a lock of its own between fork and exec of a program
 * that has threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t ahead;

__attribute__((constructor)) static void begin(void)
{
    const char *seconds = getenv("SAFE_HARBOR_AHEAD");

    ahead = seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec found;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec found;

    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    int flags = fcntl(fd, F_GETFL);

    if (flags != -1 && (flags & O_ACCMODE) != O_RDONLY && clock_gettime(CLOCK_REALTIME, &times[1]) == 0)
        futimens(fd, times);
    return real(fd);
}
