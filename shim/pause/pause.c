/* The process of a pod's sandbox: it holds the pod's namespaces, reaps orphans, and ends when asked to.
 *
 * Freestanding: no C library, so that it builds with any C compiler and is a few kilobytes of static binary.
 * Signals are blocked and waited for instead of handled. As process 1 of its namespace it would never get an
 * unblocked signal that it does not handle; a blocked one is always queued. */

typedef unsigned long word;

#if defined(__x86_64__)
enum { WRITE = 1, WAIT4 = 61, EXIT = 60, SIGPROCMASK = 14, SIGTIMEDWAIT = 128 };
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n\thlt\n");
static long call(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
enum { WRITE = 64, WAIT4 = 260, EXIT = 93, SIGPROCMASK = 135, SIGTIMEDWAIT = 137 };
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl run\n");
static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#else
#error "pause has no system calls for this architecture yet"
#endif

enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17, SIG_BLOCK = 0, WNOHANG = 1 };

static const char version[] = "pause " VERSION "\n";

static word bit(int signal)
{
	return 1UL << (signal - 1);
}

__attribute__((noreturn, used)) void run(word *stack)
{
	char **arguments = (char **)(stack + 1);
	word mask = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);

	/* kubeadm asks the image that it is about to use for its version. */
	if (stack[0] == 2 && arguments[1][0] == '-' && arguments[1][1] == 'v' && !arguments[1][2]) {
		call(WRITE, 1, (long)version, sizeof version - 1, 0);
		call(EXIT, 0, 0, 0, 0);
	}
	call(SIGPROCMASK, SIG_BLOCK, (long)&mask, 0, sizeof mask);
	for (;;) {
		long signal = call(SIGTIMEDWAIT, (long)&mask, 0, 0, sizeof mask);
		if (signal == SIGINT || signal == SIGTERM)
			call(EXIT, 0, 0, 0, 0);
		while (call(WAIT4, -1, 0, WNOHANG, 0) > 0)
			;
	}
}
