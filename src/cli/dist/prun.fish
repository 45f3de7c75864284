complete -c prun -s b -s m -l bind -l mount -d 'Show HOST at GUEST (default: where it is)' -r -F
complete -c prun -s r -l rootfs -d 'Use DIR as the guest\'s root [default: /]' -r -f -a "(__fish_complete_directories)"
complete -c prun -s R -d 'As -r, with the host\'s /dev, /proc, /sys, /tmp, /run, $HOME and network set-up' -r -f -a "(__fish_complete_directories)"
complete -c prun -s S -d 'As -0 -r, with the host\'s /dev, /proc, /sys, /tmp, $HOME and network set-up' -r -f -a "(__fish_complete_directories)"
complete -c prun -s w -l cwd -l pwd -d 'Start in this directory of the guest [default: the current one, where it is shown]' -r -f -a "(__fish_complete_directories)"
complete -c prun -l nix -d 'Show DIR at /nix, made if new, with nix\'s settings [default: $XDG_DATA_HOME/prun/nix]' -r -f -a "(__fish_complete_directories)"
complete -c prun -s i -l change-id -d 'Appear as this user and group' -r
complete -c prun -s k -l kernel-release -d 'What uname(2) says' -r
complete -c prun -s q -l qemu -d 'Run programs of another machine through CMD, such as qemu-aarch64-static' -r
complete -c prun -s p -l port -d 'Use the host\'s port OUT for the guest\'s port IN; alone: N + 2000 for N below 1024' -r
complete -c prun -s v -l verbose -d 'Say what prun decides; twice, or 2: more; -1: not even warnings' -r
complete -c prun -l trace -d 'Write each call that prun translates, with both paths and its result, to FILE [default: standard error]' -r -F
complete -c prun -l doctor -d 'Try what this host allows, print it and end; =json: for programs' -r -f -a "text\t''
json\t''"
complete -c prun -l mixed-mode -d 'Accepted with a warning; it does nothing here' -r
complete -c prun -s P -d 'Accepted with a warning; it does nothing here' -r
complete -c prun -s 0 -l root-id -d 'Appear as root, and fake what only root may do'
complete -c prun -l persist -d 'Keep faked owners and modes in the files\' attributes'
complete -c prun -s n -l netcoop -d 'Let servers have any free port, and their clients in this session find it'
complete -c prun -s l -l link2symlink -d 'Make symbolic links where the host refuses hard ones'
complete -c prun -l kill-on-exit -d 'Kill what is left when the command ends'
complete -c prun -l wait -d 'Wait for what is left when the command ends'
complete -c prun -l stats -d 'Print what the session cost when the command ends'
complete -c prun -l strict -d 'Name, once each, the calls of the command that prun does not translate exactly'
complete -c prun -l confine -d 'The command is not trusted: close what only speed keeps open; a path costs two to three times as much'
complete -c prun -s h -l help -l usage -d 'Print help (-h: a line for each option)'
complete -c prun -s V -l version -l about -d 'Print the version'
complete -c prun -l sysvipc -d 'SysV IPC: accepted; the kernel\'s own is used'
complete -c prun -s H -d 'Hide PRoot\'s own files: accepted; prun makes none'
complete -c prun -s L -d 'Correct the size of symbolic links: accepted; it is never wrong'
