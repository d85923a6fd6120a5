/* The clock of the kernel cannot be faked: a file that is flushed gets the time of the faked clock here instead.
 * To be loaded after libfaketime. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    int flags = fcntl(fd, F_GETFL);

    if (flags != -1 && (flags & O_ACCMODE) != O_RDONLY && clock_gettime(CLOCK_REALTIME, &times[1]) == 0)
        syscall(SYS_utimensat, fd, (char *)0, times, 0); /* libfaketime would change the times that it is given */
    return real(fd);
}
