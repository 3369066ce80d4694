# The boot sector that `vmm doctor` runs under KVM and under emulation; see kvm_probe.py.
#
#   as --64 -o probe.o kvm_probe.S
#   ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o probe.bin probe.o
#
# Letters on the first serial port tell how far it came: L long mode, T an exception came back, P page tables
# changed while in use, W memory and register work. It ends through isa-debug-exit at port 0xf4.

        .code16
        .globl _start
_start: cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp

        # Page tables at 0x1000, 0x2000, 0x3000: the first 1 GiB mapped onto itself in pages of 2 MiB.
        movw    $0x1000, %di
        xorl    %eax, %eax
        movw    $0x1000, %cx
        rep stosl
        movl    $0x2003, 0x1000
        movl    $0x3003, 0x2000
        movw    $0x3000, %di
        movl    $0x83, %eax
fill:   movl    %eax, (%di)
        addl    $0x200000, %eax
        addw    $8, %di
        cmpw    $0x4000, %di
        jb      fill

        lgdtl   gdtr
        movl    %cr4, %eax
        orl     $0x20, %eax             # physical address extension
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER
        rdmsr
        orl     $0x100, %eax            # long mode
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax       # paging, protected mode
        movl    %eax, %cr0
        ljmpl   $0x08, $long

        .code64
long:   movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $0x7c00, %esp
        movb    $'L', %al
        call    say

        # A breakpoint must come back through the interrupt table at 0x5000.
        xorl    %r15d, %r15d
        movl    $0x5030, %edi
        movw    $trap, (%rdi)
        movw    $0x08, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        lidt    idtr
        int3
        cmpl    $1, %r15d
        jne     bad
        movb    $'T', %al
        call    say

        # The page at 512 MiB shows 4 MiB and 6 MiB in turn.
        movl    $1000, %r14d
remap:  movl    $0x400083, 0x3800
        invlpg  0x20000000
        movl    %r14d, 0x20000000
        movl    $0x600083, 0x3800
        invlpg  0x20000000
        movl    $0, 0x20000000
        cmpl    %r14d, 0x400000
        jne     bad
        decl    %r14d
        jnz     remap
        movb    $'P', %al
        call    say

        # Fill 4 MiB, read it back, 20 times; a model-specific register and cpuid in between.
        movl    $20, %r14d
work:   movl    $0xc0000080, %ecx
        rdmsr
        wrmsr
        xorl    %eax, %eax
        cpuid
        movl    $0x800000, %edi
        movl    $0x100000, %ecx
        movl    %r14d, %eax
        rep stosl
        xorl    %edx, %edx
        movl    $0x800000, %esi
        movl    $0x100000, %ecx
sum:    addl    (%rsi), %edx
        imull   $5, %edx, %ebx
        xorl    %ebx, (%rsi)
        addq    $4, %rsi
        decl    %ecx
        jnz     sum
        imull   $0x100000, %r14d, %eax
        cmpl    %eax, %edx
        jne     bad
        decl    %r14d
        jnz     work
        movb    $'W', %al
        call    say
        movb    $0x10, %al
        jmp     quit

bad:    movb    $'!', %al
        call    say
        movb    $0x20, %al
quit:   outb    %al, $0xf4              # QEMU ends with status 2 * al + 1
        hlt
        jmp     quit

say:    movw    $0x3f8, %dx
        outb    %al, %dx
        ret

trap:   incl    %r15d
        iretq

        .balign 8, 0x90
gdt:    .quad   0
        .quad   0x00af9a000000ffff      # code, 64 bits
        .quad   0x00cf92000000ffff      # data
gdtr:   .word   . - gdt - 1
        .long   gdt
idtr:   .word   0x3ff
        .quad   0x5000
        .org    510
        .word   0xaa55
