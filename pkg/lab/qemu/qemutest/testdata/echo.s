# What the tiny ISO boots: loaded at 0:7C00 in real mode. Says hello on the
# first UART, then echoes what it reads there, also to the second UART.
# 'q' powers off by ACPI, 'r' resets by the keyboard controller.
# Assembled with: as --32 -o echo.o echo.s && ld -m elf_i386 --oformat binary -Ttext 0x7c00 -o echo.bin echo.o
	.code16
	.globl _start
_start:	cli
	xorw %ax, %ax
	movw %ax, %ds
	movw $0x3f8, %bx
	call setup
	movw $0x2f8, %bx
	call setup
	movw $hello, %si
1:	lodsb
	testb %al, %al
	jz loop
	movw $0x3f8, %bx
	call put
	jmp 1b
loop:	movw $0x3fd, %dx
	inb %dx, %al
	testb $1, %al
	jz loop
	movw $0x3f8, %dx
	inb %dx, %al
	cmpb $'q', %al
	je off
	cmpb $'r', %al
	je reset
	movw $0x3f8, %bx
	call put
	movw $0x2f8, %bx
	call put
	jmp loop
off:	movw $0x604, %dx
	movw $0x2000, %ax
	outw %ax, %dx
	jmp off
reset:	movb $0xfe, %al
	outb %al, $0x64
	jmp reset
setup:	leaw 3(%bx), %dx
	movb $0x80, %al
	outb %al, %dx
	movw %bx, %dx
	movb $1, %al
	outb %al, %dx
	leaw 1(%bx), %dx
	xorb %al, %al
	outb %al, %dx
	leaw 3(%bx), %dx
	movb $3, %al
	outb %al, %dx
	leaw 2(%bx), %dx
	movb $7, %al
	outb %al, %dx
	leaw 4(%bx), %dx
	movb $3, %al
	outb %al, %dx
	ret
put:	movb %al, %cl
	leaw 5(%bx), %dx
2:	inb %dx, %al
	testb $0x20, %al
	jz 2b
	movw %bx, %dx
	movb %cl, %al
	outb %al, %dx
	ret
hello:	.asciz "hello from the tiny iso\r\n"
