// The words of the pages behind the first one.
import './words_desk.js';
import './words_documents.js';
