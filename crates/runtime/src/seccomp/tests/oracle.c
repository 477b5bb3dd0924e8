/* Asks libseccomp. "resolve": reads names, writes the numbers on x86_64, x86, x32, aarch64 and arm.
 * "compile <native: x86_64|aarch64> <default action>": reads rules, one a line,
 * "<action> <name> <count> {<index> <op> <a> <b>}", and writes the program. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t ARCHITECTURES[] = { SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64, SCMP_ARCH_ARM };

static int resolve(void) {
	char name[128];
	while (scanf("%127s", name) == 1) {
		printf("%s", name);
		for (int i = 0; i < 5; i++)
			printf(" %d", seccomp_syscall_resolve_name_arch(ARCHITECTURES[i], name));
		printf("\n");
	}
	return 0;
}

static int compile(const char *native, const char *action) {
	int arm = strcmp(native, "aarch64") == 0;
	scmp_filter_ctx context = seccomp_init(strtoul(action, NULL, 10));
	if (context == NULL)
		return 3;
	seccomp_arch_remove(context, SCMP_ARCH_NATIVE);
	for (int i = arm ? 3 : 0; i < (arm ? 5 : 3); i++)
		if (seccomp_arch_add(context, ARCHITECTURES[i]) != 0)
			return 4;
	unsigned long rule;
	char name[128];
	unsigned count;
	while (scanf("%lu %127s %u", &rule, name, &count) == 3) {
		struct scmp_arg_cmp arguments[6];
		for (unsigned i = 0; i < count; i++) {
			unsigned index, op;
			unsigned long long a, b;
			if (scanf("%u %u %llu %llu", &index, &op, &a, &b) != 4)
				return 5;
			arguments[i] = (struct scmp_arg_cmp){ .arg = index, .op = op, .datum_a = a, .datum_b = b };
		}
		int number = seccomp_syscall_resolve_name(name);
		if (number == __NR_SCMP_ERROR)
			continue;
		int answer = seccomp_rule_add_array(context, rule, number, count, arguments);
		if (answer != 0) {
			fprintf(stderr, "%s: %s\n", name, strerror(-answer));
			return 6;
		}
	}
	fflush(stdout);
	return seccomp_export_bpf(context, 1) != 0 ? 7 : 0;
}

int main(int count, char **words) {
	if (count == 2 && strcmp(words[1], "resolve") == 0)
		return resolve();
	if (count == 4 && strcmp(words[1], "compile") == 0)
		return compile(words[2], words[3]);
	return 2;
}
