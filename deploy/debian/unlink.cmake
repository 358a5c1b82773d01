# cmake -DROOT=DIRECTORY -P unlink.cmake: in the documents that are installed there, a link to what is not installed becomes plain text.
file(GLOB_RECURSE documents ${ROOT}/*.md)
if(documents)
    execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND perl -i -pe [=[
        s{\[([^\[\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)}{
            my ($text, $file, $whole) = ($1, $2, $&);
            my $folder = $ARGV =~ s{/[^/]*$}{}r;
            $file =~ /^[a-z]+:/ || -e "$folder/$file" ? $whole : $text
        }ge
    ]=] ${documents})
endif()
