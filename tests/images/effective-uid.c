/* Stands in for the "nonewprivs" image: installed set-uid root, it tells whether that took effect. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("Effective uid: %ld\n", (long)geteuid());
	return 0;
}
